// node-redis is told the key beside the command, and sends it to the key's node.
import assert from 'node:assert/strict';
import { createCluster } from 'redis';

const ports = process.env.CLUSTER_PORTS.split(' ');
const client = createCluster({ rootNodes: ports.map((port) => ({ url: `redis://127.0.0.1:${port}` })) });
client.on('error', (error) => {
    throw error;
});
await client.connect();
for (let n = 0; n < 30; n++) {
    const key = `node-redis:${n}`;
    // Whether it only reads decides whether a replica may be asked.
    const write = (name, ...words) => client.sendCommand(key, false, [name, key, ...words]);
    const read = (name, ...words) => client.sendCommand(key, true, [name, key, ...words]);
    const fence = await write('LOCK.ACQUIRE', 'a', 'PX', '60000', 'BLOCK', '1000');
    assert.equal((await read('LOCK.CHECK', 'a'))[0], fence);
    assert.equal(await write('LOCK.EXTEND', 'a', 'PX', '60000', 'FENCE', String(fence)), 1);
    assert.ok(await read('LOCK.INFO'));
    assert.equal(await write('LOCK.RELEASE', 'a'), 1);
}
await client.close();
