//! Which images may serve a tenant: an allow-list of their names.
//!
//! Invariants: a list is bounded, sorted, and names each image once; every name is one that an image can have. Why by names:
//! an image's name is its kernel's, the kernel's id follows from it, and a slot says the id of what it holds, so that nothing
//! has to be remembered of who loaded what; a newer version of an allowed image is allowed. It knows no slot and no store.

use std::sync::Arc;

use faam_hwif::slot::KERNEL_UUID_BYTES;
use thiserror::Error;

/// Most names in one list.
pub const ALLOWED_IMAGES_MAX: usize = 32;

/// The names of the images that may serve; cheap to clone. No name: none may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedImages(Arc<[Box<str>]>);

/// What is no list of images.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AllowedImagesError {
    /// Not the name of one.
    #[error(
        "{name:?} is no name of an image: expected small letters, digits, dots, - and _, such as deflate-tables"
    )]
    Name {
        /// What came.
        name: String,
    },
    /// Too many.
    #[error(
        "{count} images: expected {ALLOWED_IMAGES_MAX} at most; leave the list out to allow every image"
    )]
    Count {
        /// How many came.
        count: usize,
    },
}

impl AllowedImages {
    /// A list of these, whatever their order.
    ///
    /// # Errors
    /// [`AllowedImagesError`]
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, AllowedImagesError> {
        let mut sorted: Vec<Box<str>> = Vec::new();
        for (at, name) in names.into_iter().enumerate() {
            if at >= ALLOWED_IMAGES_MAX {
                return Err(AllowedImagesError::Count { count: at + 1 });
            }
            if !faam_image::is_kernel_name(name) {
                let name = name.chars().take(faam_image::NAME_BYTES_MAX).collect();
                return Err(AllowedImagesError::Name { name });
            }
            sorted.push(name.into());
        }
        sorted.sort_unstable();
        sorted.dedup();
        Ok(Self(sorted.into()))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }

    /// Whether no image may serve.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ids of their kernels, as slots say them.
    pub fn kernels(&self) -> impl Iterator<Item = [u8; KERNEL_UUID_BYTES]> {
        self.names()
            .map(|name| *faam_image::kernel_uuid(name).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_each_image_once_and_is_bounded() {
        let list = AllowedImages::new(["inflate", "deflate-fast", "inflate"]).expect("names");
        assert_eq!(
            list.names().collect::<Vec<_>>(),
            ["deflate-fast", "inflate"]
        );
        assert_eq!(
            list,
            AllowedImages::new(["deflate-fast", "inflate"]).expect("names")
        );
        assert!(AllowedImages::new([]).expect("a list").is_empty());
        let many: Vec<_> = (0..=ALLOWED_IMAGES_MAX).map(|n| format!("k{n}")).collect();
        let error = AllowedImages::new(many.iter().map(String::as_str)).expect_err("too many");
        assert_eq!(error, AllowedImagesError::Count { count: many.len() });
        for name in ["", "a/b", "Deflate", "a b"] {
            let error = AllowedImages::new([name]).expect_err("no name");
            assert!(error.to_string().contains("deflate-tables"), "{error}");
        }
    }

    #[test]
    fn its_kernels_are_those_of_the_images_of_these_names() {
        let list = AllowedImages::new(["deflate-tables"]).expect("a name");
        let kernels: Vec<_> = list.kernels().collect();
        assert_eq!(
            kernels,
            [*faam_image::kernel_uuid("deflate-tables").as_bytes()]
        );
    }
}
