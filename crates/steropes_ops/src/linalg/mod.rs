//! Products of matrices and dense linear algebra.
//!
//! Names, order and signs of results are those of `torch.linalg`.

pub mod cholesky;
pub mod cholesky_solve;
pub mod cond;
pub(crate) mod dense;
pub mod det;
pub mod eigh;
pub mod linear;
pub mod lora;
pub mod lstsq;
pub mod lu;
pub mod matmul;
pub mod matrix_exp;
pub mod pinv;
pub mod qr;
pub mod quantize;
mod registers;
pub mod solve;
pub mod solve_triangular;
mod stack;
pub mod svd;
pub mod svd_lowrank;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [
        dense::tests::cases(),
        stack::tests::cases(),
        cholesky::tests::cases(),
        cholesky_solve::tests::cases(),
        cond::tests::cases(),
        det::tests::cases(),
        eigh::tests::cases(),
        linear::tests::cases(),
        lora::tests::cases(),
        lstsq::tests::cases(),
        lu::tests::cases(),
        matmul::tests::cases(),
        matrix_exp::tests::cases(),
        pinv::tests::cases(),
        qr::tests::cases(),
        quantize::tests::cases(),
        solve::tests::cases(),
        solve_triangular::tests::cases(),
        svd::tests::cases(),
        svd_lowrank::tests::cases(),
        svd_lowrank::normals::tests::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [
        cholesky::bench::benches(),
        cholesky_solve::bench::benches(),
        cond::bench::benches(),
        det::bench::benches(),
        eigh::bench::benches(),
        linear::bench::benches(),
        lora::bench::benches(),
        lstsq::bench::benches(),
        lu::bench::benches(),
        matmul::bench::benches(),
        matrix_exp::bench::benches(),
        pinv::bench::benches(),
        qr::bench::benches(),
        solve::bench::benches(),
        solve_triangular::bench::benches(),
        svd::bench::benches(),
        svd_lowrank::bench::benches(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
