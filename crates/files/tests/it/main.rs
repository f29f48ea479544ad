//! Reads real file systems, made by their own tools and filled by the kernel, and compares file by file.

mod hostile;
mod images;
mod layouts;
mod mounted;
mod mutated;
mod output;
mod same;
mod support;
