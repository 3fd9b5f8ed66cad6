# differs: invalid character
package differs.interpolation

text := $"{input.parameters.replicas} replicas"
