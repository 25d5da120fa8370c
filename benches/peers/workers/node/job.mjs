// What to measure, as the orchestrator writes it.

export class Job {
    /** @param {string} text the job in JSON; addresses of servers that no peer here uses are left alone */
    constructor(text) {
        const given = JSON.parse(text);
        this.peer = String(given.peer);
        this.row = String(given.row);
        this.contended = given.workload === 'contended';
        this.clients = number(given, 'clients');
        /** How long a client holds the contended lock, in microseconds. */
        this.sectionUs = number(given, 'section_us');
        this.seconds = number(given, 'seconds');
        this.warmupSeconds = number(given, 'warmup_seconds');
        this.leaseMs = number(given, 'lease_ms');
        this.key = String(given.key);
        const [host, port] = String(given.redis).split(':');
        this.address = { host, port: Number(port) };
        if (!['contended', 'uncontended'].includes(given.workload)) {
            throw new Error(`unknown workload: ${given.workload}`);
        }
        if (this.clients < 1) throw new Error('clients must be at least 1');
    }

    /**
     * The one lock of all clients, or the client's own.
     *
     * @param {number} client
     */
    keyOf(client) {
        return this.contended ? this.key : `${this.key}:${client}`;
    }
}

/**
 * @param {Record<string, unknown>} given
 * @param {string} name
 */
function number(given, name) {
    if (typeof given[name] !== 'number') throw new Error(`${name} must be a number`);
    return given[name];
}
