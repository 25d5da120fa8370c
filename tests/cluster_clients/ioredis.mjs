// ioredis has a list of commands of its own and asks no server for others: it sends LOCK.* to any node, and follows the
// redirect from there.
import assert from 'node:assert/strict';
import { Cluster } from 'ioredis';

const ports = process.env.CLUSTER_PORTS.split(' ').map(Number);
const client = new Cluster(ports.map((port) => ({ host: '127.0.0.1', port })));
client.on('error', (error) => {
    throw error;
});
for (let n = 0; n < 30; n++) {
    const key = `ioredis:${n}`;
    const fence = await client.call('LOCK.ACQUIRE', key, 'a', 'PX', 60000, 'BLOCK', 1000);
    assert.equal((await client.call('LOCK.CHECK', key, 'a'))[0], fence);
    assert.equal(await client.call('LOCK.EXTEND', key, 'a', 'PX', 60000, 'FENCE', fence), 1);
    assert.ok(await client.call('LOCK.INFO', key));
    assert.equal(await client.call('LOCK.RELEASE', key, 'a'), 1);
}
await client.quit();
