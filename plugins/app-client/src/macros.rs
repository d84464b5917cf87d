//! The macros that write the handlers which every driver and every executor has.
//!
//! They run before the attribute `instar_sdk::endpoint`, so that it sees all handlers at once.

/// Appends the handlers of an application's client to an endpoint that is a [`crate::Listener`].
///
/// `on_disconnected` and `on_stop` are among them; a driver that wants to know of lost connections has
/// [`crate::Listener::peer_disconnected`].
#[macro_export]
macro_rules! client {
    ($(#[$attribute:meta])* impl $driver:ident { $($own:tt)* }) => {
        $(#[$attribute])*
        impl $driver {
            $($own)*

            #[receive]
            fn app_registered(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                message: $crate::protocol::RegisteredApplication,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                $crate::listener::carry_out(self, ctx, |client| client.registered(message))
            }

            #[receive]
            fn app_master_changed(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                message: $crate::protocol::MasterChanged,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                $crate::listener::carry_out(self, ctx, |client| client.master_changed(message))
            }

            #[receive]
            fn app_removed(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                message: $crate::protocol::ApplicationRemoved,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                $crate::listener::carry_out(self, ctx, |client| client.removed(message))
            }

            #[receive]
            fn app_executor_added(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                message: $crate::protocol::ExecutorAdded,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                $crate::listener::carry_out(self, ctx, |client| client.executor_added(message))
            }

            #[receive]
            fn app_executor_updated(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                message: $crate::protocol::ExecutorUpdated,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                $crate::listener::carry_out(self, ctx, |client| client.executor_updated(message))
            }

            #[receive]
            fn app_worker_removed(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                message: $crate::protocol::WorkerRemoved,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                $crate::listener::carry_out(self, ctx, |client| client.worker_removed(message))
            }

            #[on_timer]
            fn app_client_due(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                due: $crate::listener::ClientDue,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                $crate::listener::carry_out(self, ctx, |client| client.due(due.round))
            }

            #[on_reply]
            fn app_leadership(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                then: $crate::listener::LeadershipAsked,
                outcome: ::core::result::Result<$crate::protocol::Readyz, $crate::sdk::Failure>,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                $crate::listener::leadership(self, ctx, then, outcome)
            }

            #[on_reply]
            fn app_knowledge(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                then: $crate::listener::KnowledgeAsked,
                outcome: ::core::result::Result<$crate::protocol::Acknowledged, $crate::sdk::Failure>,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                $crate::listener::knowledge(self, ctx, then, outcome)
            }

            #[on_reply]
            fn app_executors_requested(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                _then: $crate::listener::ExecutorsRequested,
                outcome: ::core::result::Result<$crate::protocol::Acknowledged, $crate::sdk::Failure>,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                let outcome = outcome.map(|answer| answer.acknowledged);
                $crate::Listener::executors_requested(self, ctx, outcome)
            }

            #[on_reply]
            fn app_executors_killed(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                _then: $crate::listener::ExecutorsKilled,
                outcome: ::core::result::Result<$crate::protocol::Acknowledged, $crate::sdk::Failure>,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                let outcome = outcome.map(|answer| answer.acknowledged);
                $crate::Listener::executors_killed(self, ctx, outcome)
            }

            #[on_disconnected]
            fn app_peer_disconnected(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                address: ::std::string::String,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                $crate::listener::disconnected(self, ctx, &address)
            }

            #[on_stop]
            fn app_stop(
                &mut self,
                ctx: &mut $crate::sdk::Context,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                $crate::listener::stop(self, ctx)
            }
        }
    };
}

/// Appends the handlers of a [`crate::Driver`] to an endpoint that is one: those of [`client!`], and
/// those for its tasks and for who waits for its result.
#[macro_export]
macro_rules! driver {
    ($(#[$attribute:meta])* impl $driver:ident { $($own:tt)* }) => {
        $crate::client! {
            $(#[$attribute])*
            impl $driver {
                $($own)*

                #[on_timer]
                fn app_prepare(
                    &mut self,
                    ctx: &mut $crate::sdk::Context,
                    _due: $crate::job::Prepare,
                ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                    $crate::job::prepare(self, ctx)
                }

                #[receive_and_reply]
                fn app_slot_ready(
                    &mut self,
                    ctx: &mut $crate::sdk::Context,
                    ask: $crate::SlotReady,
                ) -> ::core::result::Result<$crate::SlotNoted, $crate::sdk::Failure> {
                    $crate::job::slot_ready(self, ctx, ask)
                }

                #[on_reply]
                fn app_task_outcome(
                    &mut self,
                    ctx: &mut $crate::sdk::Context,
                    then: $crate::job::TaskRuns,
                    outcome: ::core::result::Result<$crate::TaskDone, $crate::sdk::Failure>,
                ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                    $crate::job::task_outcome(self, ctx, then, outcome)
                }

                #[receive_and_reply]
                fn app_progress(
                    &mut self,
                    _ctx: &mut $crate::sdk::Context,
                    _ask: $crate::GetProgress,
                ) -> ::core::result::Result<$crate::Progress, $crate::sdk::Failure> {
                    Ok($crate::Driver::job(self).progress())
                }

                #[receive]
                fn app_finish(
                    &mut self,
                    ctx: &mut $crate::sdk::Context,
                    _message: $crate::Finish,
                ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                    $crate::job::finish(self, ctx)
                }

                #[on_timer]
                fn app_leave(
                    &mut self,
                    ctx: &mut $crate::sdk::Context,
                    _due: $crate::job::Leave,
                ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                    $crate::job::leave(self, ctx)
                }
            }
        }
    };
}

/// Makes an endpoint that is a slot of an executor of a [`crate::Task`].
///
/// ```
/// use app_client::Task;
/// use instar_sdk::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// /// Adds bytes.
/// #[derive(Default, Serialize, Deserialize)]
/// struct Adds {}
///
/// impl Task for Adds {
///     fn run(&mut self, _: &mut Context, body: &[u8]) -> Result<Vec<u8>, Failure> {
///         let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
///         Ok(sum.to_string().into_bytes())
///     }
/// }
///
/// app_client::executor! {
///     #[instar_sdk::endpoint(name = "adds", version = "1.0.0", about = "Adds bytes")]
///     struct Executor(Adds);
/// }
///
/// instar_sdk::export!(Executor);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! executor {
    ($(#[$attribute:meta])* $visibility:vis struct $name:ident($task:ty);) => {
        /// A slot of an executor.
        #[derive($crate::serde::Serialize, $crate::serde::Deserialize)]
        #[serde(crate = "app_client::serde")]
        $visibility struct $name {
            slot: $crate::Slot,
            task: $task,
        }

        $(#[$attribute])*
        impl $name {
            #[on_start]
            fn app_start(
                ctx: &mut $crate::sdk::Context,
            ) -> ::core::result::Result<Self, $crate::sdk::Failure> {
                let slot = $crate::executor::start(ctx)?;
                let task = ::core::default::Default::default();
                Ok(Self { slot, task })
            }

            #[receive_and_reply]
            fn app_run(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                ask: $crate::RunTask,
            ) -> ::core::result::Result<$crate::TaskDone, $crate::sdk::Failure> {
                $crate::executor::run(&mut self.task, ctx, &ask)
            }

            #[on_reply]
            fn app_announced(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                then: $crate::executor::Announced,
                outcome: ::core::result::Result<$crate::SlotNoted, $crate::sdk::Failure>,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                $crate::executor::announced(&mut self.slot, ctx, then, outcome)
            }

            #[on_timer]
            fn app_announce(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                due: $crate::executor::AnnounceDue,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                $crate::executor::carry_out(&mut self.slot, ctx, |slot| slot.due(due.round))
            }

            #[on_timer]
            fn app_grace_over(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                due: $crate::executor::GraceOver,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                $crate::executor::carry_out(&mut self.slot, ctx, |slot| slot.grace_over(due.round))
            }

            #[on_disconnected]
            fn app_peer_disconnected(
                &mut self,
                ctx: &mut $crate::sdk::Context,
                address: ::std::string::String,
            ) -> ::core::result::Result<(), $crate::sdk::Failure> {
                $crate::executor::carry_out(&mut self.slot, ctx, |slot| {
                    slot.peer_disconnected(&address)
                })
            }
        }
    };
}
