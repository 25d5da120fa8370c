// The client of this flavour, for each kind of deployment. The client libraries are those of the package's development.

import { createRequire } from 'node:module';

const fromPackage = createRequire(new URL('../../../clients/node/package.json', import.meta.url));
const { ioredis } = fromPackage('./dist/ioredis.js');
const { nodeRedis, nodeRedisCluster, nodeRedisSentinel } = fromPackage('./dist/node-redis.js');
const { FakeServer } = fromPackage('./dist/fake.js');

/** The names under which the package installs versions of the libraries. */
const MODULES = {
    ioredis: 'ioredis',
    'ioredis-6': 'ioredis6',
    'node-redis-4': 'redis4',
    'node-redis': 'redis',
    'node-redis-6': 'redis6',
};

export const flavours = Object.keys(MODULES);

export function library(flavour) {
    const name = MODULES[flavour];
    return `${name.replace(/\d$/, '')} ${fromPackage(`${name}/package.json`).version} (Node ${process.versions.node})`;
}

/** What the package needs to know of the servers of a `connect` request. */
export function backend(flavour, request) {
    if (request.deployment === 'fake') return new FakeServer();
    const make = flavour.startsWith('ioredis') ? overIoredis : overNodeRedis;
    return make(fromPackage(MODULES[flavour]), request);
}

function overIoredis(module, { deployment, urls, service }) {
    const { Redis, Cluster } = module;
    const lazy = { lazyConnect: true };
    switch (deployment) {
        case 'single':
            return ioredis(new Redis(urls[0], lazy));
        case 'sentinel':
            return ioredis(new Redis({ ...lazy, sentinels: urls.map(address), name: service }));
        case 'cluster':
            return ioredis(new Cluster(urls.map(address), lazy));
        default:
            throw new RangeError(`there is no deployment ${deployment}`);
    }
}

function overNodeRedis({ createClient }, { deployment, urls, service }) {
    switch (deployment) {
        case 'single':
            return nodeRedis(createClient({ url: urls[0] }));
        case 'sentinel':
            return nodeRedisSentinel(createClient, { name: service, sentinelRootNodes: urls.map(address) });
        case 'cluster':
            return nodeRedisCluster(createClient, { rootNodes: urls.map((url) => ({ url })) });
        default:
            throw new RangeError(`there is no deployment ${deployment}`);
    }
}

function address(url) {
    const { hostname, port } = new URL(url);
    return { host: hostname, port: Number(port) };
}
