import js from '@eslint/js';
import tseslint from 'typescript-eslint';

export default tseslint.config(
    { ignores: ['dist/', 'node_modules/', 'test/types/'] },
    js.configs.recommended,
    {
        files: ['src/**/*.ts'],
        extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
        languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
        rules: {
            // Numbers in texts are fine.
            '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
            // `() => promise` where nobody waits is marked with void, `() => call()` needs no braces.
            '@typescript-eslint/no-confusing-void-expression': 'off',
            // `!` is forbidden, so `as` has to do.
            '@typescript-eslint/non-nullable-type-assertion-style': 'off',
            // What comes from a server has the type that its protocol says, not the one that our types hope for.
            '@typescript-eslint/no-unnecessary-type-conversion': 'off',
            '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: { arguments: false } }],
        },
    },
    {
        files: ['**/*.mjs', '**/*.cjs'],
        languageOptions: {
            globals: Object.fromEntries(
                [
                    ...['process', 'console', 'performance', 'Buffer', 'URL', 'AbortController', 'AbortSignal', 'setTimeout'],
                    ...['setImmediate', 'setInterval', 'clearTimeout', 'clearInterval', 'require', 'module'],
                ].map((name) => [name, 'readonly']),
            ),
        },
    },
);
