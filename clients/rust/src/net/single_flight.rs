//! Work that is done once for all who wait for it.

use std::future::Future;
use std::sync::Mutex;

use futures_util::future::{BoxFuture, FutureExt, Shared};
use tokio::runtime::Handle;

use crate::error::Failure;
use crate::sync::lock;

/// The result of the work, for one of those who wait for it.
pub(crate) type Flight<T> = Shared<BoxFuture<'static, Result<T, Failure>>>;

/// Work of one kind, of which at most one piece is under way.
pub(crate) struct SingleFlight<T: Clone>(Mutex<Option<Flight<T>>>);

impl<T: Clone> Default for SingleFlight<T> {
    fn default() -> Self {
        SingleFlight(Mutex::new(None))
    }
}

impl<T: Clone + Send + Sync + 'static> SingleFlight<T> {
    /// Joins the work that is under way, or starts it. The work goes on if nobody waits for it any more, so that those
    /// who come later find it done.
    pub fn join<F>(&self, start: impl FnOnce() -> F) -> Flight<T>
    where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let mut flight = lock(&self.0);
        match &*flight {
            Some(current) if current.peek().is_none() => current.clone(),
            _ => {
                // A task that has ended by itself always has a result. Its runtime can end before it.
                let task = Handle::current().spawn(start());
                let result =
                    task.map(|result| result.unwrap_or_else(|_| Err(Failure::Unsent("the runtime has ended".into()))));
                let new = result.boxed().shared();
                *flight = Some(new.clone());
                new
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn work_is_done_once_for_all_who_wait_and_again_later() {
        let (flight, runs) = (SingleFlight::<u32>::default(), Arc::new(AtomicU32::new(0)));
        let start = || {
            let runs = Arc::clone(&runs);
            async move {
                tokio::task::yield_now().await;
                Ok(runs.fetch_add(1, Ordering::Relaxed))
            }
        };
        let (one, other) = (flight.join(start), flight.join(start));
        assert_eq!((one.await.unwrap(), other.await.unwrap()), (0, 0));
        assert_eq!(flight.join(start).await.unwrap(), 1);
    }
}
