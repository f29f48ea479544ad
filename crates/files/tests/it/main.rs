//! Reads real file systems, made by their own tools and filled by the kernel, and compares file by file.

mod images;
mod same;
mod support;
