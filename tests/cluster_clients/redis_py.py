"""redis-py's cluster client reads COMMAND's key specs and sends each LOCK.* command to the node of its key."""

import os

from redis.cluster import ClusterNode, RedisCluster

nodes = [ClusterNode("127.0.0.1", int(port)) for port in os.environ["CLUSTER_PORTS"].split()]
with RedisCluster(startup_nodes=nodes) as client:
    for n in range(30):
        key = f"python:{n}"
        fence = client.execute_command("LOCK.ACQUIRE", key, "a", "PX", 60000, "BLOCK", 1000)
        assert client.execute_command("LOCK.CHECK", key, "a")[0] == fence
        assert client.execute_command("LOCK.EXTEND", key, "a", "PX", 60000, "FENCE", fence) == 1
        assert client.execute_command("LOCK.INFO", key)
        assert client.execute_command("LOCK.RELEASE", key, "a") == 1
