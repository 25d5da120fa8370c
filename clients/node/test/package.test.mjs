// The package as users get it: packed, installed into an empty project, loaded both ways, compiled against.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));

/** Uses the fake server, so it needs nothing else. */
const PROGRAM = `
    const server = new FakeServer();
    const locks = new Locks(server);
    let failed;
    const fence = await locks.using('k', async (hold) => {
        failed = await locks.acquire('k', { timeoutMs: 0 }).catch((error) => error);
        return hold.fence;
    });
    if (!(failed instanceof NotAcquired) || !(fence > 0)) throw new Error('it does not work');
    await locks.close();
    console.log('works');
`;
const IMPORTS = `
    import { Locks, NotAcquired } from 'redis-lock-client';
    import { FakeServer } from 'redis-lock-client/fake';
    import { ioredis } from 'redis-lock-client/ioredis';
    import { nodeRedis } from 'redis-lock-client/node-redis';
    import { instrument } from 'redis-lock-client/opentelemetry';
`;
const REQUIRES = IMPORTS.replace(/import (.*) from (.*);/g, 'const $1 = require($2);');

describe('the packed package', { timeout: 300_000 }, () => {
    let project;
    let installed;

    before(async () => {
        project = await mkdtemp(join(tmpdir(), 'redis-lock-package-'));
        const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', project], { cwd: root });
        const [{ filename, files }] = JSON.parse(stdout);
        await writeFile(join(project, 'package.json'), '{ "private": true }');
        // Without peers: they are optional. Those of this package's development are linked below.
        const flags = ['--no-audit', '--no-fund', '--legacy-peer-deps', '--offline'];
        await run('npm', ['install', ...flags, join(project, filename)], { cwd: project });
        installed = files.map((file) => file.path);
        for (const name of ['ioredis', 'redis', '@types', '@redis', '@ioredis', 'undici-types']) {
            await symlink(join(root, 'node_modules', name), join(project, 'node_modules', name));
        }
    });
    after(() => rm(project, { recursive: true, force: true }));

    const runs = async (name, text) => {
        await writeFile(join(project, name), text);
        const { stdout } = await run(process.execPath, [name], { cwd: project });
        assert.equal(stdout, 'works\n');
    };

    test('holds what is needed, and nothing else', () => {
        assert.ok(installed.includes('dist/index.d.mts') && installed.includes('README.md') && installed.includes('LICENSE'));
        const strangers = installed.filter((it) => !/^(dist\/.*|README\.md|LICENSE|package\.json)$/.test(it));
        assert.deepEqual(strangers, []);
    });

    test('is loaded as an ES module', () => runs('program.mjs', IMPORTS + PROGRAM));

    test('is loaded as CommonJS', () => runs('program.cjs', `${REQUIRES} void (async () => { ${PROGRAM} })();`));

    test('has the same classes both ways', () =>
        runs(
            'both.mjs',
            `import { NotHeld } from 'redis-lock-client';
             import { createRequire } from 'node:module';
             const required = createRequire(import.meta.url)('redis-lock-client');
             if (required.NotHeld === NotHeld) console.log('works');`,
        ));

    for (const [type, how] of [
        ['module', 'an ES module'],
        ['commonjs', 'CommonJS'],
    ]) {
        test(`is compiled against with --strict as ${how}`, async () => {
            const dir = join(project, type);
            await mkdir(dir);
            await writeFile(join(dir, 'package.json'), JSON.stringify({ private: true, type }));
            await cp(join(root, 'test/types/user.ts'), join(dir, 'user.ts'));
            const tsc = join(root, 'node_modules/typescript/bin/tsc');
            const flags = ['--strict', '--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess', '--skipLibCheck'];
            const target = ['--module', 'nodenext', '--target', 'es2022', '--lib', 'es2022,esnext.disposable', '--types', 'node'];
            await run(process.execPath, [tsc, ...flags, ...target, 'user.ts'], { cwd: dir }).catch((error) => {
                assert.fail(error.stdout);
            });
            const output = await readFile(join(dir, 'user.js'), 'utf8');
            assert.match(output, type === 'module' ? /from 'redis-lock-client'/ : /require\("redis-lock-client"\)/);
        });
    }
});
