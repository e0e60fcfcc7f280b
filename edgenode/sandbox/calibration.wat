;; The calibration guest: calibration.py says what it is for. calibration.wasm is this text, assembled.
(module
  (memory (export "memory") 3)
  (data (i32.const 16) "\20\00\00\00\08\00\00\00") ;; the reply: a summary of 8 bytes
  (func (export "edgenode_alloc") (param i32) (result i32) (i32.const 1024))

  ;; A polynomial by Horner's rule: each operation waits for the one before.
  (func $smooth (param f64) (result f64)
    (f64.add (f64.mul
      (f64.add (f64.mul
        (f64.add (f64.mul (local.get 0) (f64.const 0.0013)) (f64.const -0.16))
        (local.get 0)) (f64.const 0.99))
      (local.get 0)) (f64.const 0.25)))

  ;; One turn is what modules do with one sample, at its least favourable: an integer hash, a load and a store anywhere in 128 KiB, a
  ;; call, a division, and a branch that nobody can predict.
  (func (export "edgenode_step") (param i32 i32) (result i64)
    (local $turns i32) (local $random i64) (local $at i32) (local $value f64) (local $count f64) (local $mean f64) (local $above i32)
    (local.set $turns (i32.const 262144))
    (local.set $random (i64.const 0x9E3779B97F4A7C15))
    (loop $again
      ;; xorshift64 (Marsaglia, 2003)
      (local.set $random (i64.xor (local.get $random) (i64.shl (local.get $random) (i64.const 13))))
      (local.set $random (i64.xor (local.get $random) (i64.shr_u (local.get $random) (i64.const 7))))
      (local.set $random (i64.xor (local.get $random) (i64.shl (local.get $random) (i64.const 17))))
      (local.set $at (i32.add (i32.const 65536) (i32.and (i32.wrap_i64 (local.get $random)) (i32.const 0x1FFF8))))
      (local.set $value
        (call $smooth
          (f64.add
            (f64.mul (f64.load (local.get $at)) (f64.const 0.5))
            (f64.mul (f64.convert_i64_s (i64.shr_s (local.get $random) (i64.const 11))) (f64.const 0x1p-53)))))
      (f64.store (local.get $at) (local.get $value))
      ;; the running mean (Welford, 1962)
      (local.set $count (f64.add (local.get $count) (f64.const 1)))
      (local.set $mean
        (f64.add (local.get $mean) (f64.div (f64.sub (local.get $value) (local.get $mean)) (local.get $count))))
      (if (f64.gt (local.get $value) (local.get $mean))
        (then (local.set $above (i32.add (local.get $above) (i32.const 1)))))
      (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
      (br_if $again (local.get $turns)))
    (f64.store (i32.const 24) (f64.add (local.get $mean) (f64.convert_i32_u (local.get $above))))
    (i64.const 0x0000001000000010)))
