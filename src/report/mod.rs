//! What happened, said once for every listener.
