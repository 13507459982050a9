//! A local File Search service.
