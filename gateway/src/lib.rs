//! FaaM: accelerator cards as a shared compression service.
