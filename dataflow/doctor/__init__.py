"""`dataflow doctor`: is this machine, and this project on it, ready to run?"""
