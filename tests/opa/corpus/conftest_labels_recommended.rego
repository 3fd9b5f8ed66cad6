package labels

recommended := {"app.kubernetes.io/name", "app.kubernetes.io/version", "team"}

missing := recommended - object.keys(input.target.metadata.labels)

score := count(recommended & object.keys(input.target.metadata.labels)) / count(recommended)

rounded := round(score * 100)

deny contains concat(", ", sort(missing)) if count(missing) > 0
