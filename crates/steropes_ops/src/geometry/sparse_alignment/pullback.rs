//! From derivatives by a relative pose to derivatives by the two poses, in f64.

pub(super) type Matrix = [[f64; 3]; 3];
pub(super) type Vector = [f64; 3];

pub(super) fn transpose(m: &Matrix) -> Matrix {
    std::array::from_fn(|r| std::array::from_fn(|c| m[c][r]))
}

pub(super) fn product(a: &Matrix, b: &Matrix) -> Matrix {
    std::array::from_fn(|r| std::array::from_fn(|c| (0..3).map(|k| a[r][k] * b[k][c]).sum()))
}

pub(super) fn apply(m: &Matrix, v: &Vector) -> Vector {
    std::array::from_fn(|r| (0..3).map(|k| m[r][k] * v[k]).sum())
}

pub(super) fn minus(a: &Vector, b: &Vector) -> Vector {
    std::array::from_fn(|i| a[i] - b[i])
}

/// Rotation and centre of one camera seen from another.
pub(super) struct Relative {
    /// `R_frameᵀ R_owner`
    pub(super) rotation: Matrix,
    /// `R_frameᵀ (C_owner - C_frame)`
    pub(super) center: Vector,
}

impl Relative {
    pub(super) fn new(frame: (&Matrix, &Vector), owner: (&Matrix, &Vector)) -> Self {
        let back = transpose(frame.0);
        Self { rotation: product(&back, owner.0), center: apply(&back, &minus(owner.1, frame.1)) }
    }
}

/// Derivatives by rotation and centre of both cameras of a [`Relative`], given those by its fields.
pub(super) struct Pulled {
    pub(super) owner: (Matrix, Vector),
    pub(super) frame: (Matrix, Vector),
}

pub(super) fn pull(
    frame: (&Matrix, &Vector),
    owner: (&Matrix, &Vector),
    by_rotation: &Matrix,
    by_center: &Vector,
) -> Pulled {
    let offset = minus(owner.1, frame.1);
    let turned = product(owner.0, &transpose(by_rotation));
    let frame_rotation =
        std::array::from_fn(|r| std::array::from_fn(|c| turned[r][c] + offset[r] * by_center[c]));
    let center = apply(frame.0, by_center);
    Pulled { owner: (product(frame.0, by_rotation), center), frame: (frame_rotation, center.map(|v| -v)) }
}

/// `target += source` for rotations and centres.
pub(super) fn accumulate(target: (&mut Matrix, &mut Vector), source: &(Matrix, Vector)) {
    for (t, s) in target.0.as_flattened_mut().iter_mut().zip(source.0.as_flattened()) {
        *t += s;
    }
    for (t, s) in target.1.iter_mut().zip(&source.1) {
        *t += s;
    }
}
