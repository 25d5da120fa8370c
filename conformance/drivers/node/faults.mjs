// Breaks the client on purpose, so that the suite can show that it finds the fault. See PROTOCOL.md.

import { createRequire } from 'node:module';

const fromPackage = createRequire(new URL('../../../clients/node/package.json', import.meta.url));
const { Backoff } = fromPackage('./dist/core/backoff.js');
const { leaseClock } = fromPackage('./dist/core/clock.js');
const { Withdrawals } = fromPackage('./dist/engine/withdrawals.js');
const { RetryPolicy } = fromPackage('./dist/net/router.js');
const { ServerNode } = fromPackage('./dist/net/server-node.js');
const { Link } = fromPackage('./dist/net/link.js');

const FAULTS = {
    /** One RELEASE at once, over a connection that is not that of the ACQUIRE. */
    'release-first'() {
        Withdrawals.prototype.withdraw = async (request, { node }) => {
            const link = await Link.open(node.context.dialer, node.endpoint, node.context.name, 2000);
            await link.send(request.withdraw());
            link.close();
        };
    },

    'no-jitter'() {
        Backoff.prototype.nextMs = () => 0;
    },

    /** A clock that goes on only while the event loop turns. */
    'no-clock'() {
        const tickMs = 10;
        let now = leaseClock.now();
        setInterval(() => (now += tickMs), tickMs).unref();
        leaseClock.now = leaseClock.rough = () => now;
    },

    /** A connection that is silent for too long takes all others of the node with it. */
    'forget-all'() {
        ServerNode.prototype.suspect = async function (silent) {
            silent.close();
            this.closeLinks(new Error('one was silent'));
        };
    },

    'no-retry'() {
        RetryPolicy.prototype.passes = () => false;
    },
};

export function plant(name) {
    const fault = FAULTS[name];
    if (!fault) throw new RangeError(`there is no fault ${name}`);
    fault();
}
