"""Networks: tensor → tensor. They know no loss and no data; :mod:`ectype.nn.build` chooses among them."""
