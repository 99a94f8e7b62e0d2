//! A front on a port of its own, with a gateway of its own behind it, in this process.
//!
//! Owns the gateway and its data. It knows no platform: a test says which front it makes.

use std::net::SocketAddr;
use std::sync::Arc;

use faam_gateway::config::GatewayConfig;
use faam_gateway::fronts::body_room::BodyRoom;
use faam_gateway::fronts::call::CallOptions;
use faam_gateway::fronts::front::{Backend, Front};
use faam_gateway::fronts::function::Function;
use faam_gateway::gateway::Gateway;

/// See the module's head.
pub(crate) struct Carried {
    gateway: Gateway,
    _data: tempfile::TempDir,
}

impl Carried {
    /// The front that `make` makes, with the CPU engines alone.
    pub(crate) fn start<F: Front>(make: impl FnOnce(Backend) -> F + 'static) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let mut config = GatewayConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            data_dir: data.path().to_owned(),
            ..GatewayConfig::default()
        };
        config.dispatch.cards.clear();
        config.dispatch.data_dir = data.path().to_owned();
        let gateway = Gateway::start_as(config, |own| {
            let backend = Backend {
                invoker: Arc::new(own),
                function: Function::default(),
                options: CallOptions::default(),
                room: Arc::new(BodyRoom::default()),
            };
            Ok(Arc::new(make(backend)))
        });
        Self {
            gateway: gateway.expect("starts"),
            _data: data,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.public_address()
    }
}
