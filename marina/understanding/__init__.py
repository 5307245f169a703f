"""What a network is made of, what it looks at, and where its time goes."""
