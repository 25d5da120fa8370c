// What needs no server: arguments, replies, clocks, the state of holds.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { describe, test } from 'node:test';

const require = createRequire(import.meta.url);
const { Backoff } = require('../dist/core/backoff.js');
const { LeaseClock, LongTimer } = require('../dist/core/clock.js');
const { Heap } = require('../dist/core/heap.js');
const { HoldState } = require('../dist/core/hold-state.js');
const { newOwner, ownerPrefix } = require('../dist/core/owner.js');
const { decodeInfo, decodeCheck } = require('../dist/core/reply.js');
const { Request, keyId } = require('../dist/core/request.js');
const { keySlot } = require('../dist/core/slot.js');
const { fromServer, Deadlock, TooMany, NoPermission, ServerError, WrongType } = require('../dist/errors.js');
const { ReplyError } = require('../dist/net/link.js');

const handClock = (now = 0) => ({ ms: now, now() { return this.ms; }, rough() { return this.ms; } });

describe('requests', () => {
    const args = (keys, wish, block) => new Request(keys, 'me', wish).acquire(block).join(' ');

    test('say what the server has to know', () => {
        assert.equal(args('k', {}), 'LOCK.ACQUIRE k me PX 30000');
        assert.equal(args('k', { leaseMs: 10 }, Infinity), 'LOCK.ACQUIRE k me PX 10 BLOCK 0');
        assert.equal(args('k', { mode: 'shared' }, 0.2), 'LOCK.ACQUIRE k me PX 30000 BLOCK 1 SHARED');
        assert.equal(args('k', { limit: 5, weight: 2 }), 'LOCK.ACQUIRE k me PX 30000 SHARED LIMIT 5 WEIGHT 2');
        assert.equal(args('k', { session: true, maxMs: 7, delayMs: 8 }), 'LOCK.ACQUIRE k me PX 30000 SESSION MAX 7 DELAY 8');
        assert.equal(args(['a', 'b'], {}), 'LOCK.MACQUIRE 2 a b me PX 30000');
        const several = new Request(['a', 'b'], 'me', {});
        assert.equal(several.release(1).join(' '), 'LOCK.MRELEASE 2 a b me');
        assert.equal(several.extend(1, 5).join(' '), 'LOCK.MEXTEND 2 a b me PX 5');
        const one = new Request('k', 'me', {});
        assert.equal(one.release(9, 5).join(' '), 'LOCK.RELEASE k me FENCE 9 COOL 5');
        assert.equal(one.downgrade(9).join(' '), 'LOCK.RELEASE k me FENCE 9 DOWNGRADE');
    });

    test('a wait is never longer than the server allows in one request', () => {
        assert.equal(args('k', {}, 1e15), `LOCK.ACQUIRE k me PX 30000 BLOCK ${30 * 24 * 3600 * 1000}`);
    });

    test('refuse what makes no sense, and name it', () => {
        for (const [wish, what] of [
            [{ leaseMs: 0 }, /leaseMs/],
            [{ leaseMs: NaN }, /leaseMs/],
            [{ leaseMs: 366 * 24 * 3600e3 }, /leaseMs/],
            [{ leaseMs: '5' }, /leaseMs/],
            [{ mode: 'counted' }, /limit/],
            [{ limit: 0 }, /limit/],
            [{ limit: 2, weight: 3 }, /weight/],
            [{ weight: 1 }, /counted/],
            [{ mode: 'shared', limit: 3 }, /counted/],
            [{ mode: 'shared', delayMs: 3 }, /exclusive/],
            [{ delayMs: 3_600_001 }, /delayMs/],
            [{ mode: 'both' }, /mode/],
        ]) {
            assert.throws(() => new Request('k', 'me', wish), what, JSON.stringify(wish));
        }
        assert.throws(() => new Request([], 'me', {}), /number of keys/);
        assert.throws(() => new Request(7, 'me', {}), /string or a Buffer/);
        assert.throws(() => new Request(['a', 'b'], 'me', { limit: 2 }), /several/);
    });

    test('keys are the same as text and as bytes', () => {
        assert.equal(keyId('käse'), keyId(Buffer.from('käse')));
        assert.notEqual(keyId(Buffer.from([0xff])), keyId('ÿ'));
    });

    test('slots are those of the cluster', () => {
        assert.equal(keySlot('123456789'), 0x31c3);
        assert.equal(keySlot('foo{bar}baz'), keySlot('bar'));
        assert.notEqual(keySlot('foo{}baz'), keySlot(''));
    });
});

describe('replies', () => {
    const flat = ['mode', 'exclusive', 'holders-count', 1, 'holders', [['owner', 'a', 'fence', 7, 'ttl', 5, 'held', 1]]];
    const rest = ['waiters', 1, 'queue', [['owner', 'b', 'mode', 'shared', 'waited', 3, 'client', 9]], 'cooling', 0];

    test('LOCK.INFO is read in RESP2 and RESP3', () => {
        const pairs = (list) => Object.fromEntries(list.flatMap((it, at) => (at % 2 ? [] : [[it, list[at + 1]]])));
        const inMaps = new Map(Object.entries(pairs([...flat, ...rest])));
        inMaps.set('holders', flat.at(-1).map((it) => new Map(Object.entries(pairs(it)))));
        inMaps.set('queue', rest[3].map(pairs));
        for (const reply of [[...flat, ...rest], inMaps]) {
            const info = decodeInfo(reply);
            assert.equal(info.mode, 'exclusive');
            assert.equal(info.holders[0].owner, 'a');
            assert.equal(info.holders[0].ttlMs, 5);
            assert.deepEqual(info.queue, [{ owner: 'b', mode: 'shared', waitedMs: 3, client: 9 }]);
        }
        assert.equal(decodeInfo(null), null);
        assert.equal(decodeCheck(null), null);
        assert.deepEqual(decodeCheck([7, 5]), { fence: 7, ttlMs: 5, waiters: 0 });
    });

    test('errors have the types of what the server said', () => {
        assert.ok(fromServer('WRONGTYPE x') instanceof WrongType);
        assert.ok(fromServer('OOM x') instanceof TooMany);
        assert.ok(fromServer('ERR too many (redislock.max-waiters)') instanceof TooMany);
        assert.ok(fromServer('NOPERM x') instanceof NoPermission);
        assert.equal(fromServer('READONLY x').serverCode, 'READONLY');
        assert.equal(fromServer('READONLY x').constructor, ServerError);
        const text = "DEADLOCK waiting would close a cycle: 'a' waits for 'b' (lock 'x'), 'b' waits for 'a' (lock 'y')";
        const deadlock = fromServer(text);
        assert.ok(deadlock instanceof Deadlock);
        assert.deepEqual(deadlock.cycle[1], { owner: 'b', waitsFor: 'a', key: 'y' });
    });

    test('redirections name a slot and an address', () => {
        assert.deepEqual(new ReplyError('MOVED 5 ::1:7000').redirection(), { slot: 5, host: '::1', port: 7000 });
        assert.deepEqual(new ReplyError('ASK 5 :7000').redirection(), { slot: 5, host: '', port: 7000 });
        assert.equal(new ReplyError('TRYAGAIN no').redirection(), undefined);
    });
});

describe('clocks', () => {
    test('the clock of leases goes on while the machine sleeps', () => {
        let fine = 1000;
        let coarse = 5000.5;
        const clock = new LeaseClock(() => fine, () => coarse);
        fine += 10;
        coarse += 10;
        assert.equal(clock.now(), 1010);
        coarse += 60_000; // It slept for a minute.
        assert.equal(clock.now(), 61_010);
        fine += 5;
        coarse += 5;
        assert.equal(clock.now(), 61_015);
        coarse -= 100_000; // An uptime that goes back says nothing.
        assert.equal(clock.now(), 61_015);
    });

    test('a hold that slept beyond its lease is lost at the first look', () => {
        let coarse = 0.5;
        const clock = new LeaseClock(() => 0, () => coarse);
        const hold = new HoldState(new Request('k', 'me', { leaseMs: 60_000 }), [1], clock.now(), true, clock);
        assert.ok(hold.held);
        coarse += 61_000;
        assert.equal(hold.held, false);
        assert.equal(hold.lost, 'expired');
    });

    test('a timer of more than 31 bits does not fire at once', async () => {
        let fired = false;
        const timer = new LongTimer(30 * 24 * 3600e3, () => (fired = true));
        const endless = new LongTimer(Infinity, () => (fired = true));
        await new Promise((resolve) => setTimeout(resolve, 20));
        assert.equal(fired, false);
        timer.cancel();
        endless.cancel();
        await new Promise((resolve) => void new LongTimer(1, resolve, true));
    });

    test('pauses grow up to their limit, and differ', () => {
        const pauses = Array.from({ length: 200 }, ((backoff) => () => backoff.nextMs())(new Backoff(20, 1000)));
        assert.ok(pauses[0] >= 5 && pauses[0] <= 20);
        assert.ok(pauses.every((it) => it <= 1000));
        assert.ok(new Set(pauses.slice(50)).size > 100);
    });
});

describe('holds', () => {
    const hold = (wish, clock) => new HoldState(new Request('k', 'me', wish), [1], clock.now(), true, clock);

    test('end with their lease, counted from the request', () => {
        const clock = handClock();
        const state = hold({ leaseMs: 100 }, clock);
        const reasons = [];
        state.onLost((reason) => reasons.push(reason));
        clock.ms = 99;
        assert.ok(state.held);
        state.extended(50, 100);
        clock.ms = 149;
        assert.ok(state.held);
        clock.ms = 150;
        assert.equal(state.remainingMs, 0);
        assert.deepEqual(reasons, ['expired']);
        state.lose('gone');
        assert.equal(state.lost, 'expired');
    });

    test('end with their longest time, however often they are extended', () => {
        const clock = handClock();
        const state = hold({ leaseMs: 100, maxMs: 120 }, clock);
        clock.ms = 50;
        state.extended(50, 100);
        assert.equal(state.until, 120);
        assert.equal(state.renewAt(), Infinity);
        clock.ms = 120;
        assert.equal(state.held, false);
        assert.equal(state.lost, 'max');
    });

    test('believe the server if it says that less is left', () => {
        const clock = handClock();
        const state = hold({ leaseMs: 1000 }, clock);
        clock.ms = 10;
        state.confirmed(5, 100);
        assert.equal(state.until, 110);
    });

    test('are renewed after a third of the lease', () => {
        const at = hold({ leaseMs: 900 }, handClock()).renewAt();
        assert.ok(at >= 270 && at <= 330, String(at));
    });
});

test('a heap gives the smallest first', () => {
    const heap = new Heap();
    const dues = Array.from({ length: 500 }, () => Math.floor(Math.random() * 100));
    for (const due of dues) heap.push({ due });
    assert.deepEqual(dues.map(() => heap.pop().due), dues.sort((a, b) => a - b));
    assert.equal(heap.pop(), undefined);
});

test('owners lead to their process, and are too long for no server', () => {
    const prefix = ownerPrefix('billing');
    assert.match(newOwner(prefix), new RegExp(`^billing/.+/${process.pid}/[0-9a-f]{20}$`));
    assert.notEqual(newOwner(prefix), newOwner(prefix));
    assert.throws(() => ownerPrefix('x'.repeat(1001)), /label is too long/);
});
