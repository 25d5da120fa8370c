// Builds the package and runs its tests:  npm test [-- file ...]
//
// REDIS_LOCK_MODULE names the module and REDIS_SERVER the server. ALL_CLIENTS=1 takes every version of the client
// libraries.

import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const run = (...args) => {
    const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
    if (status !== 0) process.exit(status ?? 1);
};

run('scripts/build.mjs');
const files = process.argv.slice(2);
const all = readdirSync(join(root, 'test')).filter((name) => name.endsWith('.test.mjs'));
run('--test', ...(files.length > 0 ? files : all.map((name) => join('test', name))));
