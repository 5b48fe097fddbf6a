// The offset of element i of the result in the tensor, without what its index adds.
fn base_of(i: u32) -> u32 {
    var rest = i;
    var base = rest % params.e3 * params.s3;
    rest /= params.e3;
    base += rest % params.e2 * params.s2;
    rest /= params.e2;
    base += rest % params.e1 * params.s1;
    rest /= params.e1;
    return base + rest * params.s0;
}
