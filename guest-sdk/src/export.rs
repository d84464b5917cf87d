//! The macro that turns a crate into a component.

/// Makes the crate a component that is this endpoint. On wasm it writes the exports; elsewhere it
/// only checks that the type is an endpoint, so that tests compile and run natively.
///
/// Once per crate, in a crate of type `cdylib`:
///
/// ```
/// use instar_sdk::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Silent {}
///
/// #[instar_sdk::endpoint(name = "silent", version = "1.0.0")]
/// impl Silent {
///     #[on_start]
///     fn start(_: &mut Context) -> Result<Self, Failure> {
///         Ok(Self::default())
///     }
/// }
///
/// instar_sdk::export!(Silent);
/// ```
#[macro_export]
macro_rules! export {
    ($endpoint:ty) => {
        const _: () = {
            #[cfg(not(target_family = "wasm"))]
            const fn is_an_endpoint<E: $crate::Endpoint>() {}
            #[cfg(not(target_family = "wasm"))]
            is_an_endpoint::<$endpoint>();

            #[cfg(target_family = "wasm")]
            mod exports {
                use super::*;
                use $crate::__private::component;
                use $crate::bindings::exports::instar::endpoint::endpoint::{
                    Event, Guest, Metadata,
                };
                use $crate::bindings::exports::instar::endpoint::entries;

                ::std::thread_local! {
                    static RUNTIME: ::std::rc::Rc<$crate::__private::Runtime<$endpoint>> =
                        $crate::__private::Runtime::new();
                }

                struct Component;

                impl Guest for Component {
                    fn describe() -> Metadata {
                        component::metadata::<$endpoint>()
                    }

                    fn handle(batch: ::std::vec::Vec<Event>) -> u32 {
                        RUNTIME.with(|runtime| component::handle(runtime, batch))
                    }

                    fn snapshot(
                        version: u32,
                    ) -> ::std::result::Result<::std::vec::Vec<u8>, ::std::string::String>
                    {
                        RUNTIME.with(|runtime| component::snapshot(runtime, version))
                    }

                    fn restore(
                        version: u32,
                        state: ::std::vec::Vec<u8>,
                    ) -> ::std::result::Result<(), ::std::string::String> {
                        RUNTIME.with(|runtime| component::restore(runtime, version, &state))
                    }
                }

                impl entries::Guest for Component {
                    fn formats() -> ::std::option::Option<entries::EntryFormats> {
                        component::entries::<$endpoint>()
                    }
                }

        $crate::bindings::export_component!(Component with_types_in $crate::bindings);
            }
        };
    };
}
