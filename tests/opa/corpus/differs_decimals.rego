# differs: "more": true
# there: "value": {}
package differs.decimals

# OPA calculates with decimals, this engine with binary fractions.
more if 3 * 0.1 > 0.3
