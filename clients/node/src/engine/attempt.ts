import type { Link, LinkError, ReplyError } from '../net/link.js';
import type { ServerNode } from '../net/server-node.js';

/** What of one acquisition may be on its way to a server. */
export class Attempt {
    /** Sent, and not answered yet. */
    flight: { link: Link; reply: Promise<unknown>; waits: boolean } | undefined;
    /** When a connection broke over which it had been sent: it may still arrive. By performance.now(). */
    strayAt: number | undefined;
    /** A server granted it, or may have done so when it gave another answer. */
    mayHold = false;
    /** When it was last sent, by performance.now(). */
    sentAt: number | undefined;
    /** A server refused it because the lock is taken. From then on it waits on a connection of its own. */
    busy = false;
    /** What the server last said against it, if that is the last that was heard. */
    refusal: ReplyError | undefined;
    failure: LinkError | undefined;
    node: ServerNode | undefined;
    /** The connection of its own. */
    link: Link | undefined;
}
