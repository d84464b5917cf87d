//! Inbox: the bounded queue in front of one endpoint.
//!
//! Before it: [`crate::dispatcher`] and other endpoints post. After it: the runner takes batches.
//!
//! Invariants
//! 1. Messages of one poster leave in the order in which it posted them.
//! 2. At most `capacity` messages wait; room is reserved before a message is posted, so a message is
//!    never lost for want of it.
//! 3. What is posted after the end is refused, and a caller is told so.
//! 4. A message above the limit of its endpoint is refused, and takes no room.
//! 5. The queue outlives every version of the code: a swap does not touch it.
//!
//! Not here: notices (answers, timers, connections) and control. They have ways of their own, so
//! that a full inbox cannot hold them up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};

use super::settings::Limits;
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
    message_limit: AtomicUsize,
    largest_message: AtomicUsize,
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

/// The inbox of `endpoint`, within the limits `inbox` and `message_bytes`.
pub(crate) fn inbox(endpoint: &str, limits: &Limits) -> (Inbox, InboxQueue) {
    let (sender, queue) = mpsc::unbounded_channel();
    let capacity = limits.inbox.clamp(1, Semaphore::MAX_PERMITS);
    let inbox = Inbox {
        inner: Arc::new(Inner {
            endpoint: endpoint.to_owned(),
            queue: sender,
            room: Arc::new(Semaphore::new(capacity)),
            capacity: AtomicUsize::new(capacity),
            surplus: AtomicUsize::new(0),
            message_limit: AtomicUsize::new(limits.message_bytes),
            largest_message: AtomicUsize::new(0),
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

    /// The largest message that was posted so far, in bytes.
    pub(crate) fn largest_message(&self) -> usize {
        self.inner.largest_message.load(Ordering::Relaxed)
    }

    /// Refuses a message that is too large.
    fn check(&self, message: &Message) -> Result<(), RpcError> {
        let (bytes, inner) = (message.len(), &self.inner);
        let limit = inner.message_limit.load(Ordering::Relaxed);
        if bytes > limit {
            return Err(RpcError::TooLarge {
                what: format!("message `{}` to `{}`", message.kind, inner.endpoint),
                bytes: bytes as u64,
                limit: limit as u64,
                setting: "message".to_owned(),
            });
        }
        // Mostly only read: posters would wait for each other's writes.
        if bytes > self.largest_message() {
            inner.largest_message.fetch_max(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Changes how many may wait, and how large they may be. What waits already stays, also beyond
    /// smaller limits.
    pub(crate) fn resize(&self, limits: &Limits) {
        let message_limit = &self.inner.message_limit;
        message_limit.store(limits.message_bytes, Ordering::Relaxed);
        let capacity = limits.inbox.clamp(1, Semaphore::MAX_PERMITS);
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
    /// [`RpcError::Stopped`], [`RpcError::TooLarge`]; a caller has been told the same.
    pub(crate) fn post(self, posted: Posted) -> Result<(), RpcError> {
        let (Posted::OneWay(message) | Posted::Call { message, .. }) = &posted;
        if let Err(error) = self.inbox.check(message) {
            return Err(refuse(posted, error));
        }
        self.permit.forget();
        let sent = self.inbox.inner.queue.send(posted);
        sent.map_err(|mpsc::error::SendError(refused)| refuse(refused, self.inbox.stopped()))
    }
}

/// Tells a caller why its message was not taken.
fn refuse(posted: Posted, error: RpcError) -> RpcError {
    if let Posted::Call { responder, .. } = posted {
        responder.tell(Err(error.clone()));
    }
    error
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

    fn room_for(inbox: usize) -> Limits {
        Limits {
            inbox,
            message_bytes: 100,
            ..Limits::default()
        }
    }

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
        let (inbox, mut queue) = inbox("t", &room_for(10));
        for n in 0..10 {
            inbox.try_reserve().unwrap().post(message(n)).unwrap();
        }
        for n in 0..10 {
            assert_eq!(number(queue.take().await.unwrap()), n);
        }
    }

    #[tokio::test]
    async fn a_full_inbox_refuses_one_more_and_names_its_capacity() {
        let (inbox, mut queue) = inbox("t", &room_for(2));
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
        let (inbox, mut queue) = inbox("t", &room_for(1));
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
        let (inbox, mut queue) = inbox("t", &room_for(4));
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
        let (inbox, mut queue) = inbox("t", &room_for(4));
        for n in 0..4 {
            inbox.try_reserve().unwrap().post(message(n)).unwrap();
        }
        inbox.resize(&room_for(2));
        for n in 0..4 {
            assert_eq!(number(queue.take().await.unwrap()), n);
        }
        let first = inbox.reserve().await.unwrap();
        let second = inbox.reserve().await.unwrap();
        assert_eq!(inbox.try_reserve().unwrap_err().code(), "inbox-full");
        drop((first, second));
    }

    #[tokio::test]
    async fn a_message_one_byte_too_large_is_refused_by_name_and_takes_no_room() {
        let (inbox, mut queue) = inbox("t", &room_for(1));
        let of = |bytes: usize| Message::new("kind", vec![0; bytes - 4]);
        let too_large = RpcError::TooLarge {
            what: "message `kind` to `t`".to_owned(),
            bytes: 101,
            limit: 100,
            setting: "message".to_owned(),
        };
        let one_way = Posted::OneWay(of(101));
        let refused = inbox.try_reserve().unwrap().post(one_way);
        assert_eq!(refused, Err(too_large.clone()));
        let (told, outcome) = tokio::sync::oneshot::channel();
        let call = Posted::Call {
            message: of(101),
            responder: Responder::new(move |outcome| told.send(outcome).unwrap()),
            sender: Location::Client(uuid::Uuid::nil()),
        };
        assert!(inbox.try_reserve().unwrap().post(call).is_err());
        assert_eq!(outcome.await.unwrap(), Err(too_large));
        assert_eq!(inbox.largest_message(), 0);
        let room = inbox.try_reserve().unwrap();
        room.post(Posted::OneWay(of(100))).unwrap();
        assert_eq!((inbox.largest_message(), inbox.waiting()), (100, 1));
        assert!(queue.take().await.is_some());
    }

    /// RI3: messages that race with the end are either delivered or refused, never neither.
    #[tokio::test(flavor = "multi_thread")]
    async fn every_message_that_races_with_the_end_is_delivered_or_refused() {
        let (inbox, mut queue) = inbox("t", &room_for(2000));
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
