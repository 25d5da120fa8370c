import type { Dialer } from './net/link.js';
import type { Target } from './net/router.js';

/** A client library together with the servers to use. Made by `ioredis()`, `nodeRedis()` or `new FakeServer()`. */
export interface Backend {
    readonly dialer: Dialer;
    readonly target: Target;
}
