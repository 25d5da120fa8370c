// Compiles src/ to CommonJS with types, and writes an ES module beside each entry that passes the same objects on. So
// there is one copy of each class, whichever way a program loads the package, and `instanceof` works for both.

import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

rmSync(join(root, 'dist'), { recursive: true, force: true });
const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc');
execFileSync(process.execPath, [tsc, '--project', root], { stdio: 'inherit' });

for (const entry of Object.values(exports)) {
    if (typeof entry === 'string') continue;
    const from = join(root, entry.require.default);
    const names = Object.keys(require(from)).filter((name) => name !== '__esModule');
    const name = entry.require.default.split('/').at(-1);
    writeFileSync(join(root, entry.import.default), `export { ${names.join(', ')} } from './${name}';\n`);
    writeFileSync(join(root, entry.import.types), `export * from './${name}';\n`);
}
