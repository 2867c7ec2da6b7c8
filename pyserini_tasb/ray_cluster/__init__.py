"""A Ray cluster: joining or starting one, the nodes that can do the work, and what an actor takes over from the driver.

The driver is this process. Ray (the extra `ray`) places actors on the nodes: processes that keep a loaded model or
index. It tells us when one of them or a whole node is lost. Nothing here schedules: Ray does.
"""
