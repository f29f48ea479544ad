//! Machines and their disks: QMP, guest agent, guarded snapshots
