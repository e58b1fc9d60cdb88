//! The extension module under the Python package `stubless`.
