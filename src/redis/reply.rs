//! Replies that are more than one value.

use super::ffi::Ctx;
use crate::engine::{ContendedLock, HeldAs, Listed, Page, Report, WaiterReport};
use crate::lock::Fence;

/// What LOCK.ACQUIRE replies to a grant: the fence, or the owner and the fence if the server made the owner.
pub fn grant(ctx: Ctx, made_owner: Option<&[u8]>, fence: Fence) {
    if let Some(owner) = made_owner {
        ctx.reply_array(2);
        ctx.reply_bytes(owner);
    }
    ctx.reply_integer(fence.get());
}

/// What LOCK.MACQUIRE replies to a grant: the fences, or the owner and the fences if the server made the owner.
pub fn grants(ctx: Ctx, made_owner: Option<&[u8]>, fences: impl ExactSizeIterator<Item = Fence>) {
    if let Some(owner) = made_owner {
        ctx.reply_array(2);
        ctx.reply_bytes(owner);
    }
    ctx.reply_array(fences.len());
    fences.for_each(|fence| ctx.reply_integer(fence.get()));
}

/// What LOCK.CHECK replies about a hold: its fence, how many milliseconds are left of its lease, and how many clients wait if
/// that was asked for.
pub fn check(ctx: Ctx, fence: u64, ttl_ms: u64, waiters: Option<usize>) {
    ctx.reply_array(2 + usize::from(waiters.is_some()));
    ctx.reply_integer(fence);
    ctx.reply_integer(ttl_ms);
    if let Some(waiters) = waiters {
        ctx.reply_integer(waiters as u64);
    }
}

/// What LOCK.INFO replies about a lock: a map.
pub fn report(ctx: Ctx, report: &Report) {
    ctx.reply_map(6);
    text(ctx, "mode", mode(report.mode));
    number(ctx, "holders-count", report.holders_count as u64);
    ctx.reply_bytes(b"holders");
    ctx.reply_array(report.holders.len());
    for holder in &report.holders {
        ctx.reply_map(8);
        text(ctx, "owner", holder.owner);
        number(ctx, "fence", holder.fence);
        number(ctx, "ttl", holder.ttl_ms);
        number(ctx, "held", holder.held_ms);
        number(ctx, "limit", holder.limit);
        number(ctx, "session", holder.session);
        number(ctx, "weight", holder.weight);
        number(ctx, "max", holder.max_ms);
    }
    number(ctx, "waiters", report.waiters as u64);
    waiting(ctx, &report.queue);
    number(ctx, "cooling", report.cooling_ms);
}

/// What LOCK.LIST replies: the next cursor, and the locks of this page.
pub fn page(ctx: Ctx, page: &Page) {
    ctx.reply_array(2);
    // As SCAN replies its cursor.
    ctx.reply_bytes(page.next.to_string().as_bytes());
    ctx.reply_array(page.locks.len());
    for lock in &page.locks {
        ctx.reply_map(8);
        listed(ctx, lock);
    }
}

/// What LOCK.TOP replies: the most contended locks.
pub fn top(ctx: Ctx, locks: &[ContendedLock]) {
    ctx.reply_array(locks.len());
    for ContendedLock { lock, waited_ms, queue } in locks {
        ctx.reply_map(10);
        listed(ctx, lock);
        number(ctx, "waited", *waited_ms);
        waiting(ctx, queue);
    }
}

/// The eight entries that LOCK.LIST and LOCK.TOP show of a lock.
fn listed(ctx: Ctx, lock: &Listed) {
    text(ctx, "key", &lock.key);
    text(ctx, "mode", lock.mode.map_or(b"free", mode));
    text(ctx, "owner", &lock.owner);
    number(ctx, "holders-count", lock.holders_count as u64);
    number(ctx, "fence", lock.fence);
    number(ctx, "ttl", lock.ttl_ms);
    number(ctx, "held", lock.held_ms);
    number(ctx, "waiters", lock.waiters as u64);
}

/// The entry `queue`: the first waiters.
fn waiting(ctx: Ctx, queue: &[WaiterReport]) {
    ctx.reply_bytes(b"queue");
    ctx.reply_array(queue.len());
    for waiter in queue {
        ctx.reply_map(4);
        text(ctx, "owner", &waiter.owner);
        text(ctx, "mode", mode(waiter.mode.into()));
        number(ctx, "waited", waiter.waited_ms);
        number(ctx, "client", waiter.client);
    }
}

fn mode(mode: HeldAs) -> &'static [u8] {
    match mode {
        HeldAs::Exclusive => b"exclusive",
        HeldAs::Shared => b"shared",
        HeldAs::Cooling => b"cooling",
        HeldAs::Free => b"free",
    }
}

fn text(ctx: Ctx, name: &str, value: &[u8]) {
    ctx.reply_bytes(name.as_bytes());
    ctx.reply_bytes(value);
}

fn number(ctx: Ctx, name: &str, value: u64) {
    ctx.reply_bytes(name.as_bytes());
    ctx.reply_integer(value);
}
