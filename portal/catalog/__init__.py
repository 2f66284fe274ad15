"""What can be bought, where, at what price, and what is free. Facts carry their source and date; what no provider has
confirmed shows 要確認."""
