// The client libraries that the package works with, each with a way to connect to one server.

import { createRequire } from 'node:module';
import { FakeServer } from 'redis-lock-client/fake';
import { ioredis } from 'redis-lock-client/ioredis';
import { nodeRedis } from 'redis-lock-client/node-redis';

const require = createRequire(import.meta.url);

const over = {
    ioredis: (url, module) => ioredis(new module.Redis(url, { lazyConnect: true })),
    redis: (url, module) => nodeRedis(module.createClient({ url })),
};

const MODULES = { ioredis: 'ioredis', ioredis6: 'ioredis', redis4: 'redis', redis: 'redis', redis6: 'redis' };

/** Those that every run of the tests takes. ALL_CLIENTS=1 takes all. */
const USUAL = ['ioredis', 'redis4', 'redis'];

/** By name and version, such as `ioredis 5.11.1`. Versions that do not run on this Node are left out. */
export const backends = Object.entries(MODULES).flatMap(([name, kind]) => {
    if (!process.env.ALL_CLIENTS && !USUAL.includes(name)) return [];
    const { version, engines = {} } = require(`${name}/package.json`);
    const least = Number(/\d+/.exec(engines.node ?? '0')?.[0]);
    if (Number(process.versions.node.split('.')[0]) < least) return [];
    const module = require(name);
    return [{ title: `${kind} ${version}`, connect: (url) => over[kind](url, module) }];
});

export { FakeServer };
