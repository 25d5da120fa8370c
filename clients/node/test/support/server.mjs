// A server of its own for each test file: on loopback, with the module loaded, stopped at the end.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { until } from './until.mjs';

const MODULE =
    process.env.REDIS_LOCK_MODULE ??
    fileURLToPath(new URL('../../../../target/release/libredis_lock.so', import.meta.url));
const PROGRAM = process.env.REDIS_SERVER ?? 'redis-server';

export class Server {
    /** Starts a server. It knows the LOCK commands. */
    static async start(...options) {
        const dir = await mkdtemp(join(tmpdir(), 'redis-lock-node-'));
        for (let tries = 0; ; tries++) {
            const port = await freePort();
            const args = ['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'no'];
            const process = spawn(PROGRAM, [...args, '--loadmodule', MODULE, ...options], {
                stdio: ['ignore', 'pipe', 'pipe'],
            });
            let log = '';
            for (const stream of [process.stdout, process.stderr]) stream.on('data', (bytes) => (log += bytes));
            await until(() => /eady to accept connections/.test(log) || process.exitCode !== null, 'the server is up');
            if (process.exitCode === null) return new Server(process, port, dir);
            // Somebody else may have taken the port.
            if (tries === 5) throw new Error(`the server did not start:\n${log}`);
        }
    }

    constructor(process, port, dir) {
        this.process = process;
        this.port = port;
        this.dir = dir;
        this.url = `redis://127.0.0.1:${port}`;
        this.operator = new Redis(this.url, { maxRetriesPerRequest: null });
    }

    /** Runs a command as an operator. */
    run(command, ...args) {
        return this.operator.call(command, ...args);
    }

    async waiters(key) {
        const info = await this.run('LOCK.INFO', key);
        return info ? info[info.indexOf('waiters') + 1] : 0;
    }

    /** Somebody else's hold, far longer than any test. */
    occupy = (key) => this.run('LOCK.ACQUIRE', key, 'somebody', 'EX', '600');
    vacate = (key) => this.run('LOCK.RELEASE', key, 'somebody');

    /** Fails unless nothing is held and nobody waits, soon. */
    async leavesNothing() {
        await until(async () => {
            const [, locks] = await this.run('LOCK.LIST', '0', 'COUNT', '1000');
            const waiters = /^redislock_waiters:(\d+)/m.exec(await this.run('INFO', 'redislock'));
            return locks.length === 0 && waiters?.[1] === '0';
        }, 'no lock and no waiter is left');
    }

    pause = () => this.process.kill('SIGSTOP');
    resume = () => this.process.kill('SIGCONT');

    async stop() {
        this.operator.disconnect();
        this.process.kill('SIGKILL');
        if (this.process.exitCode === null && this.process.signalCode === null) await once(this.process, 'exit');
        await rm(this.dir, { recursive: true, force: true });
    }
}

async function freePort() {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    server.close();
    await once(server, 'close');
    return port;
}
