from options import Command
TEST = Command("test", "tests", lambda o: 0)
