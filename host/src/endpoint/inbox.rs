//! Inbox: the bounded queue in front of one endpoint.
//!
//! Before it: [`crate::dispatcher`] and other endpoints post. After it: the runner takes batches.
//!
//! Invariants
//! 1. Messages of one poster leave in the order in which it posted them.
//! 2. At most `capacity` messages wait; room is reserved before a message is posted, so a message is
//!    never lost for want of it.
//! 3. What is posted after the end is refused, and a caller is told so.
//! 4. The queue outlives every version of the code: a swap does not touch it.
//!
//! Not here: notices (answers, timers, connections) and control. They have ways of their own, so
//! that a full inbox cannot hold them up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};

use crate::address::Location;
use crate::error::RpcError;
use crate::message::Message;
use crate::responder::Responder;

/// A message in an inbox.
#[derive(Debug)]
pub(crate) enum Posted {
    /// Wants no answer.
    OneWay(Message),
    /// Wants one answer.
    Call {
        /// The request.
        message: Message,
        /// Where the answer goes.
        responder: Responder,
        /// The caller's host.
        sender: Location,
    },
}

/// The posters' side. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoint: String,
    queue: mpsc::UnboundedSender<Posted>,
    // The queue itself has no bound: this is it. Unlike the bound of a channel it can be changed
    // while messages wait.
    room: Arc<Semaphore>,
    capacity: AtomicUsize,
    /// Room that is in use and will not come back, since the capacity became smaller.
    surplus: AtomicUsize,
}

/// The runner's side.
pub(crate) struct InboxQueue {
    queue: mpsc::UnboundedReceiver<Posted>,
    inbox: Inbox,
}

/// Room for one message. Dropping it gives the room back.
#[derive(Debug)]
pub(crate) struct InboxRoom {
    inbox: Inbox,
    permit: OwnedSemaphorePermit,
}

/// An inbox of `capacity` messages for `endpoint`.
pub(crate) fn inbox(endpoint: &str, capacity: usize) -> (Inbox, InboxQueue) {
    let (sender, queue) = mpsc::unbounded_channel();
    let capacity = capacity.clamp(1, Semaphore::MAX_PERMITS);
    let inbox = Inbox {
        inner: Arc::new(Inner {
            endpoint: endpoint.to_owned(),
            queue: sender,
            room: Arc::new(Semaphore::new(capacity)),
            capacity: AtomicUsize::new(capacity),
            surplus: AtomicUsize::new(0),
        }),
    };
    let queue = InboxQueue {
        queue,
        inbox: inbox.clone(),
    };
    (inbox, queue)
}

impl Inbox {
    /// Room for one message, now.
    ///
    /// # Errors
    /// [`RpcError::InboxFull`], [`RpcError::Stopped`].
    pub(crate) fn try_reserve(&self) -> Result<InboxRoom, RpcError> {
        match Arc::clone(&self.inner.room).try_acquire_owned() {
            Ok(permit) => Ok(self.room(permit)),
            Err(TryAcquireError::NoPermits) => Err(RpcError::InboxFull {
                endpoint: self.inner.endpoint.clone(),
                capacity: self.capacity(),
            }),
            Err(TryAcquireError::Closed) => Err(self.stopped()),
        }
    }

    /// Room for one message, when there is some; first come, first served.
    ///
    /// # Errors
    /// [`RpcError::Stopped`].
    ///
    /// # Cancellation
    /// Dropping the future gives the place in the line back.
    pub(crate) async fn reserve(&self) -> Result<InboxRoom, RpcError> {
        match Arc::clone(&self.inner.room).acquire_owned().await {
            Ok(permit) => Ok(self.room(permit)),
            Err(_closed) => Err(self.stopped()),
        }
    }

    fn room(&self, permit: OwnedSemaphorePermit) -> InboxRoom {
        InboxRoom {
            inbox: self.clone(),
            permit,
        }
    }

    pub(crate) fn stopped(&self) -> RpcError {
        RpcError::Stopped {
            what: format!("endpoint `{}`", self.inner.endpoint),
        }
    }

    /// How many messages may wait.
    pub(crate) fn capacity(&self) -> usize {
        self.inner.capacity.load(Ordering::Relaxed)
    }

    /// How many messages wait, reserved room included.
    pub(crate) fn waiting(&self) -> usize {
        let free = self.inner.room.available_permits();
        self.capacity().saturating_sub(free)
    }

    /// Changes how many may wait. What waits already stays, also beyond a smaller capacity.
    pub(crate) fn resize(&self, capacity: usize) {
        let capacity = capacity.clamp(1, Semaphore::MAX_PERMITS);
        let before = self.inner.capacity.swap(capacity, Ordering::Relaxed);
        let room = &self.inner.room;
        if capacity > before {
            room.add_permits(capacity - before);
        } else {
            let surplus = before - capacity;
            let taken = room.forget_permits(surplus);
            // The rest is in use now: it goes when it comes back.
            let rest = surplus - taken;
            self.inner.surplus.fetch_add(rest, Ordering::Relaxed);
        }
    }

    /// Gives the room of a message back that was taken out.
    fn release(&self) {
        let shrink = |surplus: usize| surplus.checked_sub(1);
        let surplus = &self.inner.surplus;
        if surplus
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, shrink)
            .is_err()
        {
            self.inner.room.add_permits(1);
        }
    }
}

impl InboxRoom {
    /// Fills the room.
    ///
    /// # Errors
    /// [`RpcError::Stopped`]; a caller has been told the same.
    pub(crate) fn post(self, posted: Posted) -> Result<(), RpcError> {
        self.permit.forget();
        match self.inbox.inner.queue.send(posted) {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendError(refused)) => {
                let error = self.inbox.stopped();
                if let Posted::Call { responder, .. } = refused {
                    responder.tell(Err(error.clone()));
                }
                Err(error)
            }
        }
    }
}

impl InboxQueue {
    /// Takes one message if one is there; its room is free again. None also at the end.
    pub(crate) fn try_take(&mut self) -> Option<Posted> {
        let posted = self.queue.try_recv().ok()?;
        self.inbox.release();
        Some(posted)
    }

    /// Waits for a message. None at the end.
    ///
    /// # Cancellation
    /// Safe: no message is lost.
    pub(crate) async fn take(&mut self) -> Option<Posted> {
        let posted = self.queue.recv().await?;
        self.inbox.release();
        Some(posted)
    }

    /// Refuses what comes from now on; what waits can still be taken.
    pub(crate) fn close(&mut self) {
        self.inbox.inner.room.close();
        self.queue.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u8) -> Posted {
        Posted::OneWay(Message::new("t.Number", vec![number]))
    }

    fn number(posted: Posted) -> u8 {
        match posted {
            Posted::OneWay(message) => message.body[0],
            Posted::Call { .. } => panic!("a call"),
        }
    }

    #[tokio::test]
    async fn messages_leave_in_the_order_of_their_posting() {
        let (inbox, mut queue) = inbox("t", 10);
        for n in 0..10 {
            inbox.try_reserve().unwrap().post(message(n)).unwrap();
        }
        for n in 0..10 {
            assert_eq!(number(queue.take().await.unwrap()), n);
        }
    }

    #[tokio::test]
    async fn a_full_inbox_refuses_one_more_and_names_its_capacity() {
        let (inbox, mut queue) = inbox("t", 2);
        let kept = inbox.try_reserve().unwrap();
        inbox.try_reserve().unwrap().post(message(1)).unwrap();
        let error = inbox.try_reserve().unwrap_err();
        assert_eq!(
            error,
            RpcError::InboxFull {
                endpoint: "t".to_owned(),
                capacity: 2
            }
        );
        drop(kept);
        inbox.try_reserve().unwrap().post(message(2)).unwrap();
        assert_eq!(number(queue.try_take().unwrap()), 1);
        assert_eq!(inbox.waiting(), 1);
    }

    #[tokio::test]
    async fn who_waits_for_room_gets_it_when_a_message_is_taken() {
        let (inbox, mut queue) = inbox("t", 1);
        inbox.try_reserve().unwrap().post(message(1)).unwrap();
        let waiting = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.reserve().await.unwrap().post(message(2)) }
        });
        assert_eq!(number(queue.take().await.unwrap()), 1);
        waiting.await.unwrap().unwrap();
        assert_eq!(number(queue.take().await.unwrap()), 2);
    }

    #[tokio::test]
    async fn what_is_posted_after_the_end_is_refused_and_its_caller_told() {
        let (inbox, mut queue) = inbox("t", 4);
        let room = inbox.try_reserve().unwrap();
        let (told, outcome) = tokio::sync::oneshot::channel();
        queue.close();
        let call = Posted::Call {
            message: Message::new("t.Ask", Vec::new()),
            responder: Responder::new(move |outcome| told.send(outcome).unwrap()),
            sender: Location::Client(uuid::Uuid::nil()),
        };
        assert!(room.post(call).is_err());
        assert_eq!(outcome.await.unwrap().unwrap_err().code(), "stopped");
        assert_eq!(inbox.try_reserve().unwrap_err().code(), "stopped");
        assert!(queue.take().await.is_none());
    }

    #[tokio::test]
    async fn a_smaller_capacity_keeps_what_waits_and_refuses_more() {
        let (inbox, mut queue) = inbox("t", 4);
        for n in 0..4 {
            inbox.try_reserve().unwrap().post(message(n)).unwrap();
        }
        inbox.resize(2);
        for n in 0..4 {
            assert_eq!(number(queue.take().await.unwrap()), n);
        }
        let first = inbox.reserve().await.unwrap();
        let second = inbox.reserve().await.unwrap();
        assert_eq!(inbox.try_reserve().unwrap_err().code(), "inbox-full");
        drop((first, second));
    }

    /// RI3: messages that race with the end are either delivered or refused, never neither.
    #[tokio::test(flavor = "multi_thread")]
    async fn every_message_that_races_with_the_end_is_delivered_or_refused() {
        let (inbox, mut queue) = inbox("t", 2000);
        let posters: Vec<_> = (0..10)
            .map(|_| {
                let inbox = inbox.clone();
                tokio::spawn(async move {
                    let mut accepted = 0;
                    for n in 0..100 {
                        let posted = inbox.try_reserve().and_then(|room| room.post(message(n)));
                        accepted += usize::from(posted.is_ok());
                    }
                    accepted
                })
            })
            .collect();
        let mut delivered = 0;
        while delivered < 50 {
            delivered += usize::from(queue.take().await.is_some());
        }
        queue.close();
        let mut accepted = 0;
        for poster in posters {
            accepted += poster.await.unwrap();
        }
        while queue.take().await.is_some() {
            delivered += 1;
        }
        assert_eq!(delivered, accepted);
    }
}
