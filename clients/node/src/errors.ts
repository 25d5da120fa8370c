/** The errors of this package. Every one is a {@link LockError}, and `code` names its kind. */

/** Why a hold was lost. */
export type LossReason =
    /** This client's own clock passed the end of the lease, and no server had confirmed a longer one. */
    | 'expired'
    /** The server says that the owner holds nothing: an operator removed the lock, or the session ended. */
    | 'gone'
    /** The longest time of the hold (`maxMs`) is over. */
    | 'max'
    /** The server no longer lets this user extend the hold, and the lease has ended. */
    | 'denied'
    /** The client was closed while the lock was held. */
    | 'closed';

/** The base of all errors that this package makes. */
export class LockError extends Error {
    override name = 'LockError';

    /** Names the kind of the error, for code that cannot use `instanceof`. */
    readonly code: string;

    constructor(code: string, message: string, options?: ErrorOptions) {
        super(message, options);
        this.code = code;
    }
}

/** Others held the lock for the whole time that the caller was ready to wait. */
export class NotAcquired extends LockError {
    override name = 'NotAcquired';

    constructor(message: string, options?: ErrorOptions) {
        super('NOT_ACQUIRED', message, options);
    }
}

/** The hold has ended. Others may have held the lock since. `reason` says what this client saw. */
export class NotHeld extends LockError {
    override name = 'NotHeld';
    readonly reason: LossReason;

    constructor(message: string, reason: LossReason = 'gone', options?: ErrorOptions) {
        super('NOT_HELD', message, options);
        this.reason = reason;
    }
}

/** Too few replicas confirmed the grant in time. The lock was released. */
export class NotDurable extends LockError {
    override name = 'NotDurable';
    /** How many replicas confirmed the grant. */
    readonly confirmed: number;
    /** How many the caller asked for. */
    readonly wanted: number;

    constructor(message: string, confirmed: number, wanted: number) {
        super('NOT_DURABLE', message);
        this.confirmed = confirmed;
        this.wanted = wanted;
    }
}

/** No server answered within the caller's time, and none said why. `cause` is the last failure, if there was one. */
export class Unreachable extends LockError {
    override name = 'Unreachable';

    constructor(message: string, options?: ErrorOptions) {
        super('UNREACHABLE', message, options);
    }
}

/** The client was closed before the call, or while it waited. */
export class ClientClosed extends LockError {
    override name = 'ClientClosed';

    constructor(message = 'the client of the locks is closed') {
        super('CLOSED', message);
    }
}

/** The server refused the command. The message is the server's text. */
export class ServerError extends LockError {
    override name = 'ServerError';
    /** The first word of the server's text, such as `READONLY`. */
    readonly serverCode: string;

    constructor(text: string, code = 'SERVER') {
        super(code, text);
        this.serverCode = firstWord(text);
    }
}

/** One step of a cycle: `owner` waits for `waitsFor`, which holds `key` or waits for it. Long names are cut. */
export interface DeadlockStep {
    owner: string;
    waitsFor: string;
    key: string;
}

/** Waiting would close a cycle of owners that wait for one another. Release all that this owner holds, and start again. */
export class Deadlock extends ServerError {
    override name = 'Deadlock';
    /** The cycle, as far as the server told it. */
    readonly cycle: readonly DeadlockStep[];

    constructor(text: string) {
        super(text, 'DEADLOCK');
        // The server cuts long names, and writes dots behind them.
        const steps = text.matchAll(/'([^']*)'(?:\.{3})? waits for '([^']*)'(?:\.{3})? \(lock '([^']*)'(?:\.{3})?\)/g);
        this.cycle = [...steps].map((step) => ({
            owner: step[1] ?? '',
            waitsFor: step[2] ?? '',
            key: step[3] ?? '',
        }));
    }
}

/** The key holds a value that is not a lock. */
export class WrongType extends ServerError {
    override name = 'WrongType';

    constructor(text: string) {
        super(text, 'WRONG_TYPE');
    }
}

/** The user may not run this command, or not on this key, or could not log in. */
export class NoPermission extends ServerError {
    override name = 'NoPermission';

    constructor(text: string) {
        super(text, 'NO_PERMISSION');
    }
}

/** A limit of the server is reached: its waiters, its holders, or its memory. */
export class TooMany extends ServerError {
    override name = 'TooMany';

    constructor(text: string) {
        super(text, 'TOO_MANY');
    }
}

/** The error for what a server answered. */
export function fromServer(text: string): ServerError {
    switch (firstWord(text)) {
        case 'DEADLOCK':
            return new Deadlock(text);
        case 'WRONGTYPE':
            return new WrongType(text);
        case 'NOPERM':
        case 'NOAUTH':
        case 'WRONGPASS':
            return new NoPermission(text);
        case 'OOM':
            return new TooMany(text);
        default:
            return text.includes('redislock.max-') && !text.includes('max-lease') ? new TooMany(text) : new ServerError(text);
    }
}

function firstWord(text: string): string {
    return text.split(' ', 1)[0] ?? '';
}
