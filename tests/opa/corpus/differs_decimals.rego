# differs: "more": true
package differs.decimals

# OPA calculates with decimals, this engine with binary fractions.
more if 3 * 0.1 > 0.3
