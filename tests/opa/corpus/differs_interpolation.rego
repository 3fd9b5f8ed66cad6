# differs: invalid character
# there: replicas"
package differs.interpolation

text := $"{input.parameters.replicas} replicas"
