//! Generated: the Rust side of `wit/`. Small and rarely changed, so that an edit elsewhere does not
//! generate it again. Its types stay inside [`crate::component`].

wasmtime::component::bindgen!({
    path: "../wit",
    world: "plugin-with-registry",
    imports: { default: trappable },
    exports: { default: async },
});
