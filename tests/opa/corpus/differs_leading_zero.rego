# differs: could not parse string as number
package differs.leading_zero

hour := to_number("09")
