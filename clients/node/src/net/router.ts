import { Backoff } from '../core/backoff.js';
import { type Endpoint, Link, LinkError, ReplyError, endpointId, show } from './link.js';
import { type NodeContext, ServerNode } from './server-node.js';
import { withTimeout } from './timeout.js';

/** A Sentinel or a node that stands still is passed over after this time. Milliseconds. */
const DISCOVERY_MS = 2000;

/** Changes addresses as servers know them into those that this process can reach. */
export type AddressMap = (endpoint: Endpoint) => Endpoint;

/** Which servers hold the locks. */
export type Target =
    | { kind: 'single'; endpoint: Endpoint }
    | {
          kind: 'sentinel';
          sentinels: readonly Endpoint[];
          /** The name under which the Sentinels know the primary. */
          service: string;
          /** Opens connections to Sentinels, which may need another login than the servers. */
          sentinelDialer: NodeContext['dialer'];
          map: AddressMap;
      }
    | { kind: 'cluster'; seeds: readonly Endpoint[]; map: AddressMap };

/** Finds the server that is responsible for a slot. */
export interface Router {
    /** The node to ask. Rejects with a LinkError if nobody knows. */
    locate(slot: number): Promise<ServerNode>;
    /** What was sent to this node failed, or it hangs: find out whether another one took its place. */
    doubt(node: ServerNode): void;
    /** Follows -MOVED, and says where -ASK points. */
    redirected(from: ServerNode, to: { slot: number; host: string; port: number }, permanently: boolean): ServerNode;
    /** All nodes that hold locks, for LOCK.LIST and LOCK.TOP. */
    primaries(): Promise<ServerNode[]>;
    close(): void;
}

export function makeRouter(target: Target, context: NodeContext): Router {
    switch (target.kind) {
        case 'single':
            return new SingleRouter(target.endpoint, context);
        case 'sentinel':
            return new SentinelRouter(target, context);
        case 'cluster':
            return new ClusterRouter(target, context);
    }
}

class SingleRouter implements Router {
    readonly #node: ServerNode;

    constructor(endpoint: Endpoint, context: NodeContext) {
        this.#node = new ServerNode(endpoint, context);
    }

    locate(): Promise<ServerNode> {
        return Promise.resolve(this.#node);
    }

    doubt(): void {
        // There is no other.
    }

    redirected(): ServerNode {
        return this.#node;
    }

    primaries(): Promise<ServerNode[]> {
        return Promise.resolve([this.#node]);
    }

    close(): void {
        this.#node.close();
    }
}

class SentinelRouter implements Router {
    readonly #target: Extract<Target, { kind: 'sentinel' }>;
    readonly #context: NodeContext;
    #sentinels: readonly Endpoint[];
    #node: ServerNode | undefined;
    #doubted = false;
    #asking: Promise<ServerNode> | undefined;
    #closed = false;

    constructor(target: Extract<Target, { kind: 'sentinel' }>, context: NodeContext) {
        this.#target = target;
        this.#context = context;
        this.#sentinels = target.sentinels;
    }

    locate(): Promise<ServerNode> {
        if (this.#node && !this.#doubted) return Promise.resolve(this.#node);
        return this.#ask();
    }

    /** Asks the Sentinels. However many callers need the answer, they are asked once. */
    #ask(): Promise<ServerNode> {
        this.#asking ??= this.#discover().finally(() => (this.#asking = undefined));
        return this.#asking;
    }

    async #discover(): Promise<ServerNode> {
        const problems: string[] = [];
        for (const sentinel of this.#sentinels) {
            let link: Link | undefined;
            try {
                this.#context.opened();
                link = await Link.open(this.#target.sentinelDialer, sentinel, this.#context.name, 2000);
                const answer = await withTimeout(link.send(['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', this.#target.service]), DISCOVERY_MS);
                if (!Array.isArray(answer)) throw new LinkError(`it does not know ${this.#target.service}`);
                const primary = this.#target.map({ host: String(answer[0]), port: Number(answer[1]) });
                // The next question goes to the one that answered.
                this.#sentinels = [sentinel, ...this.#sentinels.filter((it) => it !== sentinel)];
                return this.#use(primary);
            } catch (error) {
                problems.push(`${show(sentinel)}: ${(error as Error).message}`);
            } finally {
                link?.close();
            }
        }
        throw new LinkError(`no Sentinel told where ${this.#target.service} is (${problems.join('; ')})`);
    }

    #use(primary: Endpoint): ServerNode {
        if (this.#closed) throw new LinkError('the client was closed');
        this.#doubted = false;
        if (this.#node && endpointId(this.#node.endpoint) === endpointId(primary)) return this.#node;
        const old = this.#node;
        this.#node = new ServerNode(primary, this.#context);
        old?.retire();
        return this.#node;
    }

    doubt(node: ServerNode): void {
        if (node !== this.#node) return;
        this.#doubted = true;
        // Waits at a primary that hangs ask nobody: they go on when the old node is retired.
        this.#ask().catch(() => undefined);
    }

    redirected(from: ServerNode): ServerNode {
        return from;
    }

    async primaries(): Promise<ServerNode[]> {
        return [await this.locate()];
    }

    close(): void {
        this.#closed = true;
        this.#node?.close();
    }
}

/** The map of the slots is asked for again at most this often, unless nothing is known. */
const REFRESH_EVERY_MS = 1000;

class ClusterRouter implements Router {
    readonly #target: Extract<Target, { kind: 'cluster' }>;
    readonly #context: NodeContext;
    readonly #nodes = new Map<string, ServerNode>();
    #slots: (ServerNode | undefined)[] = [];
    #refreshing: Promise<void> | undefined;
    #refreshAgain: NodeJS.Timeout | undefined;
    #refreshedAt = -Infinity;
    #failures = new Backoff(100, 2000);
    #notBefore = -Infinity;
    #closed = false;

    constructor(target: Extract<Target, { kind: 'cluster' }>, context: NodeContext) {
        this.#target = target;
        this.#context = context;
    }

    async locate(slot: number): Promise<ServerNode> {
        const known = this.#slots[slot];
        if (known && !known.retired) return known;
        await this.#refresh();
        const node = this.#slots[slot];
        if (!node) throw new LinkError(`no node of the cluster serves slot ${slot}`);
        return node;
    }

    doubt(): void {
        if (this.#closed || this.#refreshAgain) return;
        const wait = this.#refreshedAt + REFRESH_EVERY_MS - performance.now();
        this.#refreshAgain = setTimeout(
            () => {
                this.#refreshAgain = undefined;
                this.#refresh().catch(() => undefined);
            },
            Math.max(0, wait),
        );
        this.#refreshAgain.unref();
    }

    redirected(from: ServerNode, to: { slot: number; host: string; port: number }, permanently: boolean): ServerNode {
        const node = this.#node(this.#target.map({ host: to.host || from.endpoint.host, port: to.port }));
        if (permanently) {
            this.#slots[to.slot] = node;
            this.doubt();
        }
        return node;
    }

    async primaries(): Promise<ServerNode[]> {
        if (this.#slots.length === 0) await this.#refresh();
        return [...new Set(this.#slots.filter((it) => it !== undefined))];
    }

    #node(endpoint: Endpoint): ServerNode {
        if (this.#closed) throw new LinkError('the client was closed');
        const id = endpointId(endpoint);
        let node = this.#nodes.get(id);
        if (!node || node.retired) {
            node = new ServerNode(endpoint, this.#context);
            this.#nodes.set(id, node);
        }
        return node;
    }

    #refresh(): Promise<void> {
        this.#refreshing ??= this.#discover().finally(() => (this.#refreshing = undefined));
        return this.#refreshing;
    }

    async #discover(): Promise<void> {
        const early = this.#notBefore - performance.now();
        if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
        const problems: string[] = [];
        const known = [...this.#nodes.values()].filter((it) => !it.retired).map((it) => it.endpoint);
        const ids = new Set<string>();
        for (const endpoint of [...shuffled(known), ...this.#target.seeds]) {
            if (ids.has(endpointId(endpoint))) continue;
            ids.add(endpointId(endpoint));
            try {
                // A node in the map keeps its connection. A seed that turns out to be no primary is closed below.
                const slots = await withTimeout(this.#node(endpoint).request(['CLUSTER', 'SLOTS']), DISCOVERY_MS);
                this.#take(slots, endpoint);
                this.#failures = new Backoff(100, 2000);
                return;
            } catch (error) {
                problems.push(`${show(endpoint)}: ${(error as Error).message}`);
            }
        }
        this.#notBefore = performance.now() + this.#failures.nextMs();
        throw new LinkError(`no node told the slots of the cluster (${problems.join('; ')})`);
    }

    #take(reply: unknown, asked: Endpoint): void {
        this.#refreshedAt = performance.now();
        const slots: ServerNode[] = [];
        for (const range of reply as [number, number, [unknown, number, ...unknown[]], ...unknown[]][]) {
            const [first, last, [host, port]] = range;
            // An empty or unknown host is the one that was asked.
            const name = typeof host === 'string' && host !== '' && host !== '?' ? host : asked.host;
            const node = this.#node(this.#target.map({ host: name, port: Number(port) }));
            for (let slot = Number(first); slot <= Number(last); slot++) slots[slot] = node;
        }
        if (slots.length === 0) throw new LinkError('the node does not know any slots');
        this.#slots = slots;
        const serving = new Set(slots);
        for (const [id, node] of this.#nodes) {
            if (serving.has(node)) continue;
            this.#nodes.delete(id);
            node.retire();
        }
    }

    close(): void {
        this.#closed = true;
        clearTimeout(this.#refreshAgain);
        for (const node of this.#nodes.values()) node.close();
    }
}

function shuffled<T>(items: T[]): T[] {
    return items
        .map((item) => ({ item, order: Math.random() }))
        .sort((a, b) => a.order - b.order)
        .map(({ item }) => item);
}

/** A wait outlives these errors of the server. */
const PASSING = new Set([
    'TRYAGAIN',
    'CLUSTERDOWN',
    'MASTERDOWN',
    'LOADING',
    'READONLY',
    'UNBLOCKED',
    'MOVED',
    'ASK',
    'NOMASTERLINK',
]);

/** Says which failures are worth another try. */
export class RetryPolicy {
    passes(error: unknown): boolean {
        if (error instanceof ReplyError) return PASSING.has(error.code);
        return error instanceof LinkError;
    }
}
