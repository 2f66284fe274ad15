"""Files in in-country object storage. The browser sends parts straight to the store; names live here, keys are ours."""
