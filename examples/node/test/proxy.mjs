// A proxy before the server, to lose what a network loses.

import net from 'node:net';

/** @returns {Promise<{ url: string, silent: boolean, loseAnswerTo: string | undefined, close: () => void }>} */
export async function startProxy() {
    const sockets = new Set();
    const proxy = {
        url: '',
        /** Nothing gets through, and no connection closes. */
        silent: false,
        /** The next command of this name is carried out, and its connection closes instead of the answer. */
        loseAnswerTo: undefined,
        close() {
            server.close();
            for (const socket of sockets) socket.destroy();
        },
    };
    const server = net.createServer((near) => {
        const far = net.connect(Number(process.env.REDIS_PORT), process.env.REDIS_HOST);
        let losing = false;
        for (const socket of [near, far]) {
            sockets.add(socket);
            socket.on('error', () => {});
        }
        near.on('close', () => far.destroy());
        far.on('close', () => near.destroy());
        near.on('data', (bytes) => {
            if (proxy.silent) return;
            if (proxy.loseAnswerTo && bytes.includes(proxy.loseAnswerTo)) {
                proxy.loseAnswerTo = undefined;
                losing = true;
            }
            far.write(bytes);
        });
        far.on('data', (bytes) => {
            if (losing) return near.destroy();
            if (!proxy.silent) near.write(bytes);
        });
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    proxy.url = `redis://127.0.0.1:${server.address().port}`;
    return proxy;
}
