//! Oracle: coordinate by coordinate, from the definition.

/// The offset in a tensor of shape `x` of the element that each number of `index`, of shape `shape`, names along `axis`.
pub(crate) fn offsets(x: &[usize], shape: &[usize], axis: usize, index: &[i64]) -> Vec<usize> {
    let mut coordinates = vec![0; shape.len()];
    let mut offsets = Vec::new();
    for &number in index {
        let offset = (0..x.len())
            .fold(0, |offset, d| offset * x[d] + if d == axis { number as usize } else { coordinates[d] });
        offsets.push(offset);
        for d in (0..shape.len()).rev() {
            coordinates[d] += 1;
            if coordinates[d] < shape[d] {
                break;
            }
            coordinates[d] = 0;
        }
    }
    offsets
}
