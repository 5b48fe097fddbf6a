//! MASt3R and DUSt3R: from image pairs to raw network outputs.
